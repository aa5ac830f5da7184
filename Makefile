# Short names; ./run.sh does the work and makes the environment first.
.PHONY: check test format

check: ## what CI runs
	./run.sh test

test: ## the tests alone; make test WORDS="-k config"
	./run.sh python -m pytest $(WORDS)

format: ## sort imports, lay the code out
	./run.sh python -m ruff check --select I --fix .
	./run.sh python -m ruff format .
