.PHONY: setup check test demo
setup check test demo:
	@python3 dev.py $@
