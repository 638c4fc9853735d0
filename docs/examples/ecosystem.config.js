// pm2 start ecosystem.config.js
module.exports = {
  apps: [
    {
      name: "generation",
      script: "service.py",
      cwd: "/opt/miner",
      interpreter: "/opt/miner/venv/bin/python",
      env: { OTEL_GEN_DATA_DIR: "/opt/miner/data" },
      out_file: "/opt/miner/log/generation.log",
      error_file: "/opt/miner/log/generation.log",
      // pm2 sends SIGINT and by default SIGKILL 1.6 s later: less than a generation takes.
      kill_timeout: 60000,
      // A crash loop waits longer each time, up to 15 s, and leaves the GPU alone meanwhile.
      exp_backoff_restart_delay: 500,
    },
  ],
};
