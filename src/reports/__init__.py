"""Reports of runs: a page, pictures and tables; `src/report.py` makes them."""
