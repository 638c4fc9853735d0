"""The demo: a reference service over CPU stand-ins, validators, and the runner that checks everything."""
