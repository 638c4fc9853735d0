"""Zero code: a mapping file says which functions of a service are its generation and its stages."""
