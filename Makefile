# Everything runs in the environment .venv, which each target makes first if it must; README.md has the
# same as plain commands. `make PYTHON=python3.12 book` chooses the Python that .venv is made with.
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
unexport VIRTUAL_ENV PYTHONHOME PYTHONPATH
# The networks of the chapters are small: a second thread waits more than it works, and stalls beside another
# program that wants its processor.
export OMP_NUM_THREADS := 1

HTML := book/_build/html
ZIP := book/_build/the-adversarial-game.zip
PDF := book/_build/latex/the-adversarial-game.pdf
CACHE := book/_build/.jupyter_cache
BROWSER := gan_theory/live/browser
LATEX := latexmk texlive-xetex texlive-latex-extra texlive-fonts-recommended fonts-texgyre fonts-texgyre-math fonts-dejavu poppler-utils
CHROMIUM_IS_THERE := python -c 'import shutil, sys; sys.exit(not any(map(shutil.which, ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"))))'
heading = @printf '\n\033[1m== %s\033[0m\n' "$(1)"

.PHONY: help outputs book zip pdf latex test package pages chromium bench faults mutants lab serve clean
.DELETE_ON_ERROR:

help:
	@echo 'make book    execute the notebooks and build the book into $(HTML)'
	@echo 'make zip     put the built book into one file, $(ZIP)'
	@echo 'make pdf     print the book with XeLaTeX into $(PDF)'
	@echo 'make test    check everything: style, package, claims, notebooks, pages'
	@echo 'make package the part of it that tests the package, and the rules of the notebooks'
	@echo 'make pages   build the book, open every page in Chromium and check it'
	@echo 'make bench   measure how fast pages and training are, and how well GANs on the line converge'
	@echo 'make faults  kill a run on digits 20 times, and compare it with one left alone, in about 3 minutes'
	@echo 'make mutants change the package in one place at a time, and see that a test fails each time'
	@echo 'make lab     open the book in JupyterLab'
	@echo 'make serve   serve the built book at http://localhost:8000'
	@echo 'make clean   remove all that these commands have made'

# An environment is made anew, not mended, so that nothing is left in it that is no longer asked for.
.venv/requirements: requirements.txt
	$(call heading,Making the environment .venv)
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.version_info >= (3, 11) or sys.exit(f"Python 3.11 or newer is needed, and $(PYTHON) is {v}: make PYTHON=…")'
	$(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install --quiet --requirement requirements.txt
	@touch $@

.venv/package: .venv/requirements pyproject.toml CITATION.cff gan_theory/live/static/live-page.js
	HATCH_JUPYTER_BUILDER_SKIP_NPM=1 .venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

%/node_modules/installed: .venv/requirements %/package.json %/package-lock.json
	$(call heading,Installing the packages of $*)
	cd $* && npm ci --loglevel=error
	@touch $@

gan_theory/live/static/live-page.js: $(BROWSER)/node_modules/installed $(BROWSER)/build.js $(wildcard $(BROWSER)/src/*)
	$(call heading,Bundling the browser half of the live figures)
	cd $(BROWSER) && npm run --silent build

# The outputs of a notebook are kept as long as its code and everything listed here stay as they are.
outputs: .venv/package
	@mkdir -p book/_build
	@find gan_theory requirements.txt .venv/pyvenv.cfg -name browser -prune -o -name static -prune -o -type f ! -name '*.pyc' -exec cksum {} + | sort > book/_build/new
	@cmp -s book/_build/new book/_build/executed_with || rm -rf $(CACHE)
	@mv book/_build/new book/_build/executed_with
	@mkdir -p $(CACHE)

# The notebooks that `make test` has not executed are on all processors at once; one that fails is run again by
# jupyter-book, which says where. The pages themselves are made anew each time: it takes seconds, and no deleted
# page lingers.
book: outputs book/_assets/node_modules/installed
	$(call heading,Building the book)
	@rm -rf $(HTML) book/_build/.doctrees book/_build/jupyter_execute
	@jcache notebook --cache-path $(CACHE) clear --force >book/_build/executed
	@jcache notebook --cache-path $(CACHE) add book/*.ipynb >>book/_build/executed
	GAN_THEORY_LIVE=page jcache project --cache-path $(CACHE) execute --executor local-parallel --timeout 300 >>book/_build/executed 2>&1
	jupyter-book build book -W -n --keep-going -q

# The same pages give the same bytes: Python sorts the files, and all get one date.
zip: book
	@find $(HTML) -exec touch -t 202601010000 {} +
	@cd $(dir $(ZIP)) && ln -sfn html the-adversarial-game && python -m zipfile --create $(notdir $(ZIP)) the-adversarial-game

# LaTeX and its fonts are the one thing that no target installs. What a run of it that was stopped leaves would
# mislead the next.
pdf: latex book
	$(call heading,Printing the book)
	@rm -rf $(dir $(PDF))
	jupyter-book build book --builder latex -W -n --keep-going -q
	$(MAKE) --silent -C $(dir $(PDF)) LATEXMKOPTS=-silent all-pdf
	pytest tests/pdf/read.py

latex:
	@which latexmk xelatex pdftohtml >/dev/null && kpsewhich placeins.sty texgyrepagella-regular.otf texgyrepagella-math.otf >/dev/null \
	&& fc-list | grep -q DejaVuSansMono-Oblique \
	|| { echo 'Printing needs these packages, here by their names in Debian and Ubuntu: $(LATEX)'; exit 1; }

# Of two processors the tests of the package leave one idle at times: the book, which takes one, is built then.
test: outputs
	$(call heading,Style)
	ruff check
	ruff format --check
	cd $(BROWSER) && npm run --silent check
	$(call heading,The notebooks and the numbers they print)
	GAN_THEORY_LIVE=page pytest -n 2 --dist loadfile --nbval-lax --nbval-current-env book
	@$(MAKE) --no-print-directory --jobs 2 package zip
	@if $(CHROMIUM_IS_THERE); then $(MAKE) --no-print-directory chromium; \
	else printf '\n\033[1;31m== NO CHROMIUM: THE PAGES AND THEIR LIVE FIGURES ARE NOT TESTED\033[0m\n'; test -z "$$CI"; fi

package: .venv/package
	$(call heading,The package and the rules of the notebooks)
	pytest -n 2 --dist loadgroup --ignore=tests/book --cov
	cd $(BROWSER) && npm test --silent

pages: zip
	@$(MAKE) --no-print-directory chromium

chromium:
	$(call heading,The pages in Chromium)
	pytest -n 2 --dist loadgroup tests/book

bench: book
	$(call heading,How fast the pages are)
	python tests/bench/live.py
	$(call heading,How fast digits are trained on)
	python tests/bench/mnist.py --out book/_build/bench
	$(call heading,How well GANs on the line converge)
	python -m gan_theory.one_dimensional --out book/_build/bench/runs.json

faults: .venv/package
	$(call heading,What 20 kills do to a run)
	python tests/faults/killed.py

mutants: .venv/package
	$(call heading,What the tests do not notice)
	python tests/mutants/run.py

lab: .venv/package
	jupyter lab --notebook-dir=book

serve: book
	@echo 'The book: http://localhost:8000 (Ctrl-C stops)'
	@python -m http.server --bind 127.0.0.1 --directory $(HTML) 8000

clean:
	rm -rf .venv mutants book/_build book/_assets/node_modules $(BROWSER)/node_modules gan_theory/live/static .coverage* .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
