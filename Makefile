# Two commands are all that a newcomer needs: `make demo` and `make test`. Each begins on a machine that has
# Python, git and make, and gets the rest by itself: Python packages into .venv, Debian packages by apt-get where
# it runs as root. Nobody else's machine is changed behind his back: an ordinary user is told which packages are
# missing before anything is done.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python -m
PIP := $(RUN) pip --disable-pip-version-check --quiet install --constraint scripts/constraints.txt

# What the tests call, with the Debian package that brings it. The demo calls nothing.
TEST_NEEDS := unshare:util-linux ip:iproute2 ping:iputils-ping sysctl:procps linux.uml:user-mode-linux modprobe:kmod \
	etcd:etcd-server etcdctl:etcd-client openssl:openssl iperf3:iperf3 bird:bird2 /usr/lib/frr/bgpd:frr gobgpd:gobgpd \
	nft:nftables iptables:iptables /usr/lib/cni/bridge:containernetworking-plugins podman:podman \
	runc:runc containerd:containerd /bin/busybox:busybox-static

# Debian keeps some of these out of an ordinary user's PATH.
export PATH := $(PATH):/usr/sbin:/sbin

# The tests that need no kernel.
PURE := tests/unit tests/properties tests/conformance
# These mostly wait: for timers, half a minute at a time, for BGP daemons, and for container runtimes.
FAULTS := tests/kernel/test_lab_etcd_faults.py tests/bgp tests/cni

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test setup lint fast fuzz bench kernel uml pure real guests faults clean python packages

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

demo: $(VENV)/.ready-to-run ## a cluster of containers on this machine, root or not
	@$(VENV)/bin/containernet lab demo

# Four at once, of which one or another always waits for a kernel or a clock; on two cores that takes half the time.
# What needs no kernel does not wait for Debian's packages, either; who cannot install any is told of them first.
test: $(if $(filter 0,$(shell id -u)),,packages) $(VENV)/.ready-to-test ## what CI does: lint, types, all tests, coverage
	$(RUN) coverage erase
	scripts/abreast '$(MAKE) --no-print-directory lint pure' '$(MAKE) --no-print-directory real'
	$(RUN) coverage combine --quiet
	$(RUN) coverage report

setup: packages $(VENV)/.ready-to-test ## get everything that the tests need

lint: $(VENV)/.ready-to-test ## ruff and mypy --strict
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy

fast: $(VENV)/.ready-to-test ## the tests that need no kernel, few examples each
	HYPOTHESIS_PROFILE=fast $(RUN) pytest -q $(PURE)

fuzz: $(VENV)/.ready-to-test ## a hostile BGP peer, for SECONDS (60)
	$(RUN) tests.fuzz_bgp $(SECONDS)

SECONDS ?= 60

bench: setup ## what is fast, beside its peers, in turns: all, or ONLY=those whose names begin so
	$(RUN) benchmarks $(ONLY)

kernel: setup ## the tests against this machine's kernel, in namespaces of their own
	scripts/in-namespaces $(RUN) pytest -m kernel

uml: setup ## the tests that need drivers which this machine's kernel lacks
	tests/uml/run.py $(RUN) pytest -m uml

pure:
	scripts/in-namespaces $(RUN) coverage run -m pytest $(PURE)

real: packages
	@scripts/abreast '$(MAKE) --no-print-directory faults' '$(MAKE) --no-print-directory guests' \
		'scripts/in-namespaces $(RUN) coverage run -m pytest $(addprefix --ignore=,$(PURE) tests/etcd $(FAULTS))'

# In user-mode-linux, ten times slower, nothing is traced: what runs there runs elsewhere as well.
guests:
	tests/uml/run.py $(RUN) pytest -m uml
	scripts/in-namespaces $(RUN) coverage run -m pytest tests/etcd

faults:
	scripts/in-namespaces $(RUN) coverage run -m pytest $(FAULTS)

clean: ## remove everything that is not in git, but for your own files
	rm -rf $(VENV) .hypothesis .mypy_cache .pytest_cache .ruff_cache .coverage .coverage.* dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

python:
	@PYTHON='$(PYTHON)' scripts/require

packages:
	@PYTHON='$(PYTHON)' scripts/require $(TEST_NEEDS)

# The stamps are written last, so an interrupted installation is begun again.
$(VENV)/.ready-to-run: pyproject.toml scripts/constraints.txt | python
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	@touch $@

$(VENV)/.ready-to-test: pyproject.toml scripts/constraints.txt | python
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.ready-to-run
