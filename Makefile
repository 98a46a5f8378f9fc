# `make run` trains the email-urgency model on the shipped data, `make run-pets` the pet classifier;
# `make test` runs the fast suite, `make test-browser` that of the demo, `make test-inbox` that of mail
# on a server, `make docs` builds the guide, `make bench` runs the benchmarks, `make accelerator-check`
# what depends on a GPU, `make audit` looks for known vulnerabilities in the libraries. All set up .venv
# first, whatever is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: run run-pets test coverage slow-test test-browser test-inbox docs bench accelerator-check lint audit package install clean

run: $(STAMP)
	rm -rf outputs/email-urgency
	$(BIN)/nlp-transfer run email-urgency --output-dir outputs/email-urgency

run-pets: $(STAMP)
	rm -rf outputs/pet-classifier
	$(BIN)/nlp-transfer run pet-classifier --output-dir outputs/pet-classifier

# A thread for each worker: with more they wait for each other. A worker runs whole modules, so that
# what their tests share is made once; in the order of their names, which puts short ones last.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

# The lines of the packages that no test of the fast suite runs.
coverage: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --cov --cov-report term-missing:skip-covered

slow-test: $(STAMP)
	$(BIN)/pytest -m slow

# The demo in headless Chromium; makes the pictures of it in docs/. INSTALL_CHROMIUM=1 gets Debian's.
test-browser: $(STAMP)
ifdef INSTALL_CHROMIUM
	apt-get install --yes --quiet chromium
endif
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,browser]'
	$(BIN)/pytest -m browser tests/browser

# Mail is marked on a Dovecot that the tests start, and stop again, the soak of a thousand mails among
# them: four minutes. INSTALL_DOVECOT=1 gets Debian's.
test-inbox: $(STAMP)
ifdef INSTALL_DOVECOT
	apt-get install --yes --quiet dovecot-imapd dovecot-lmtpd
endif
	OMP_NUM_THREADS=1 $(BIN)/pytest -m 'slow or not slow' tests/transfer_app/inbox

# The guide and its reference, in build/site; what does not resolve is an error.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The wheel and the sdist, in dist/.
package: $(STAMP)
	rm -rf dist
	$(BIN)/pip install --quiet --disable-pip-version-check build twine
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*

# An hour on two cores; writes docs/benchmarks.md. QUICK=1 shows in minutes that it all runs.
RUNS ?= 3
THREADS ?= 2
bench: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,benchmarks]'
	OMP_NUM_THREADS=$(THREADS) RAYON_NUM_THREADS=$(THREADS) $(BIN)/python benchmarks/page.py \
		$(if $(QUICK),--quick --runs 1 --into outputs/benchmarks,--runs $(RUNS))

# What depends on the device, on the one that PyTorch finds, in minutes; DEVICE=cpu needs none. Where
# another Python has all that is needed: python -m tests.accelerator.
accelerator-check: $(STAMP)
	$(BIN)/python -m tests.accelerator $(if $(DEVICE),--device $(DEVICE))

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# In an environment of its own. Strict: what is not found in the database is not called safe.
audit:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	.venv-audit/bin/pip-audit --strict --disable-pip --no-deps --requirement constraints.txt

install: $(STAMP)

# An old pip takes twice as long to find what fits together; and pip compiles on one core. A few files of
# libraries are of another Python and do not compile, which is no fault.
$(STAMP): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[dev]'
	-$(BIN)/python -m compileall -qq -j 0 $(VENV)
	touch $@

clean:
	rm -rf $(VENV) .venv-audit outputs build dist *.egg-info
