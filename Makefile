.PHONY: quickstart test fast lint reference

quickstart: ## a running stack in ./my-stack
	scripts/quickstart

test: ## everything, with what it needs
	scripts/test

fast: ## the tests that take seconds
	scripts/make-venv dev
	.venv/bin/pytest -m "not docker and not browser and not slow and not train and not kube"

lint: ## style, types, who may import whom
	scripts/make-venv dev
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && .venv/bin/lint-imports

reference: ## the command reference in README.md
	scripts/cli-reference
