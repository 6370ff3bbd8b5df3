# `make` or `make help` lists the targets. Needed: Rust, Go, Python 3, make.
# The work is done by one Rust program, tests/testbed; this file gives it short names.

CARGO ?= cargo
KILLS ?= 100
TARGET_DIR := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
TESTBED := $(TARGET_DIR)/debug/keywheel-testbed
# Histories that `make sim` runs.
SEEDS ?= 200
# Seconds that `make fuzz` runs.
TIME ?= 600

.DEFAULT_GOAL := help
.PHONY: help build release test fuzz compat model variants sim flows sim-variants chaos mutants verify tools demo demo-up demo-down generate fmt clean testbed

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build keywheel and the test bed (debug)
	$(CARGO) build --workspace --bins

release: ## Build keywheel as it is released
	$(CARGO) build --release --bin keywheel

test: testbed ## Run every test layer; FILTER=words runs the tests with these words in their names
	@$(TESTBED) test $(FILTER)

sim: ## Simulate crashes, lost answers and people: every flow with faults at every write, then SEEDS=n histories at random
	@$(CARGO) build --profile sim --package keywheel-sim --bin keywheel-sim
	@$(TARGET_DIR)/sim/keywheel-sim exhaustive
	@$(TARGET_DIR)/sim/keywheel-sim random --seeds $(SEEDS)

flows: ## Simulate every flow with every kind of fault at every call; about 20 minutes
	@$(CARGO) build --profile sim --package keywheel-sim --bin keywheel-sim
	@$(TARGET_DIR)/sim/keywheel-sim exhaustive --depth full

sim-variants: ## Show that the simulation catches the wrong variants that the model leaves out; NAME=name for one
	@$(CARGO) build --profile sim --package keywheel-sim --package keywheel-model --features defects --bins
	@$(TARGET_DIR)/sim/keywheel-sim variants $(NAME)

fuzz: testbed ## Feed the parsers and every route of the embedded server what nobody meant, for TIME seconds each
	@KEYWHEEL_FUZZ_SECONDS=$(TIME) $(TESTBED) test fuzz::

compat: testbed ## Run unmodified clients with credentials from Secrets, and print the table of what they did
	@$(TESTBED) compat

chaos: testbed ## Kill the operator KILLS=100 times and the servers in between, while a client uses its Secrets; about 20 minutes
	@KEYWHEEL_CHAOS_KILLS=$(KILLS) $(TESTBED) test chaos::

model: ## Search every state of the key's life, through the production plan; prints how many; WORDS=words for some
	@$(CARGO) build --profile sim --package keywheel-sim --package keywheel-model --bins
	@$(TARGET_DIR)/sim/keywheel-model check $(WORDS)

variants: ## Show that the search catches every wrong variant of the plan; NAME=name for one, with its trace
	@$(CARGO) build --profile sim --package keywheel-sim --package keywheel-model --features defects --bins
	@$(TARGET_DIR)/sim/keywheel-model variants $(NAME)

mutants: testbed ## Run the domain's tests against each of a thousand mutants of it; SHARD=3/16 for a part; about an hour
	@$(TESTBED) mutants $(SHARD)

verify: testbed ## Check format, lints, generated files, the chart, licences and advisories
	@$(TESTBED) verify

tools: testbed ## Build the control plane's programs that are missing into the user's cache; TOOLS=names for some
	@$(TESTBED) tools $(TOOLS)

demo: testbed ## Watch a key being made, used, rotated and retired on a real control plane; leaves nothing running. BACKEND=disruptive for the other backend
	@$(TESTBED) demo $(BACKEND)

demo-up: testbed ## Start the same and leave it running; prints the KUBECONFIG line
	@$(TESTBED) demo-up $(BACKEND)

demo-down: testbed ## End what demo-up left running
	@$(TESTBED) demo-down

generate: build ## Write crds/, the chart's copies of them, and deploy/
	@$(TESTBED) generate

fmt: ## Format the code
	$(CARGO) fmt --all

clean: ## Remove what was built here; the cache of the control plane's programs stays
	$(CARGO) clean

# With the whole workspace's features, so that nothing is built twice.
testbed:
	@$(CARGO) build --workspace --bin keywheel-testbed
