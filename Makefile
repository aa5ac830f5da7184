# Short names; ./run.sh does the work and makes the environment first.
.PHONY: check test format

check: ## what CI runs
	./run.sh test

test: ## the tests alone; make test WORDS="-k config"
	./run.sh tool pytest $(WORDS)

format: ## sort imports, lay the code out
	./run.sh tool ruff check --select I --fix .
	./run.sh tool ruff format .
