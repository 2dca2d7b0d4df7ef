"""Changes the package in one place at a time, and asks whether a test notices.

Run by `make mutants`, or: python tests/mutants/run.py [names of mutants, with *]
The mutants that no test notices are compared with those of survivors.toml, where each has its reason. Which
tests look at them is under [tool.mutmut] in pyproject.toml.
"""

import sys
import tomllib
from pathlib import Path

from mutmut.__main__ import cli
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.mutation.mutators import mutation_operators
from mutmut.runners.harness import PytestRunner
from mutmut.state import state
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files
from mutmut.utils.format_utils import orig_function_and_class_names_from_key
from mutmut.workers import isolation

LISTED = Path(__file__).with_name("survivors.toml")

# What else mutmut can do either changes a message, which tests/test_misuse.py pins, or puts None for a value
# or leaves out an argument, which nearly always raises at once and so says little of the tests.
OPERATORS = {
    "operator_augmented_assignment",
    "operator_if_exp",
    "operator_keywords",
    "operator_name",
    "operator_number",
    "operator_remove_unary_ops",
    "operator_swap_op",
}


class FastestFirst(PytestRunner):
    """Runs the tests of a mutant, which mutmut has in no order, so that most mutants fall in no time."""

    def _pytest_args_regular_run(self, tests: list[str]) -> list[str]:
        durations = state().duration_by_test
        return super()._pytest_args_regular_run(sorted(tests, key=lambda test: durations.get(test, 0)))


def outcomes() -> list[tuple[str, str]]:
    """Each mutant, as "module.function: old code → new code", and what became of it."""
    found = []
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        for name, code in data.exit_code_by_key.items():
            function, of_class = orig_function_and_class_names_from_key(name)
            place = ".".join(filter(None, (*path.with_suffix("").parts[1:], of_class, function)))
            lines = get_diff_for_mutant(name, path=path).splitlines()[2:]
            old, new = (" ".join(line[1:].strip() for line in lines if line[:1] == sign) for sign in "-+")
            found.append((f"{place}: {old} → {new}", status_by_exit_code[code]))
    return found


def main() -> None:
    """Runs mutmut, and compares what survives with what is listed."""
    mutation_operators[:] = [(node, how) for node, how in mutation_operators if how.__name__ in OPERATORS]
    isolation.PytestRunner = FastestFirst
    cli(["run", *sys.argv[1:]], standalone_mode=False)

    ends = outcomes()
    survived = {mutant for mutant, end in ends if end in {"survived", "no tests"}}
    open_ones = {mutant for mutant, end in ends if end == "not checked"}
    listed = {
        mutant
        for group in tomllib.loads(LISTED.read_text("utf-8"))["survivors"]
        for mutant in group["mutants"]
    }
    print(f"{len(ends)} mutants, {len(survived)} survived, {len(open_ones)} not looked at")
    for mutant in sorted(survived - listed):
        print("not listed:", mutant)
    for mutant in sorted(listed - survived - open_ones):
        print("listed, but does not survive:", mutant)
    sys.exit(bool(survived - listed or listed - survived - open_ones))


if __name__ == "__main__":
    main()
