"""gunicorn -c gunicorn.conf.py service:app"""

from __future__ import annotations

import os

bind = f"127.0.0.1:{os.environ.get('PORT', '8093')}"
worker_class = "uvicorn_worker.UvicornWorker"  # pip install uvicorn-worker
workers = 2
# Seconds without a sign of life before a worker is killed: longer than a model takes to load.
timeout = 300
# Seconds for the requests in flight and 10 s of shutdown().
graceful_timeout = 60
