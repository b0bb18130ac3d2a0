"""Runs some of CPython's own tests in this build, and reports the result of each: one JSON document per line, on stdout.

  peer_tests.py FOLDER NAME...   FOLDER has the tests that this build's own package `test` lacks ("" for none),
                                 NAME is a name for unittest: test.test_external_inspection.TestFrameCaching

  {"test": ID}                         the test starts
  {"test": ID, "came": WORD, "text": TEXT}
      WORD is "passed", "failed", "errored" or "skipped"; TEXT is why. A test reports each failed subtest separately.
      A failure outside a test (an import, setUpClass) has the name that unittest gives it.
  {"over": true}                       all tests have run

Output of the tests goes to stderr. The parent process keeps standard input open: when it closes, the whole process group
is killed, including all processes that tests have started.
"""

import json
import os
import signal
import sys
import unittest

TEXT = 2000


def guard():
    """Leaves a process behind that ends the group when standard input does."""
    if os.fork():
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.close(nothing)
        return
    # A reader that waits for the end of the output must not wait for this process.
    os.closerange(1, 256)
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGKILL)


class Result(unittest.TestResult):
    def __init__(self, output):
        super().__init__()
        self.output = output

    def send(self, document):
        data = memoryview(json.dumps(document).encode() + b"\n")
        while data:
            data = data[os.write(self.output, data) :]

    def came(self, test, word, text=""):
        self.send({"test": test.id(), "came": word, "text": text[-TEXT:]})

    def startTest(self, test):
        super().startTest(test)
        self.send({"test": test.id()})

    def addSuccess(self, test):
        self.came(test, "passed")

    def addExpectedFailure(self, test, err):
        self.came(test, "passed", self._exc_info_to_string(err, test))

    def addUnexpectedSuccess(self, test):
        self.came(test, "failed", "it was expected to fail")

    def addFailure(self, test, err):
        self.came(test, "failed", self._exc_info_to_string(err, test))

    def addError(self, test, err):
        self.came(test, "errored", self._exc_info_to_string(err, test))

    def addSkip(self, test, reason):
        self.came(test, "skipped", reason)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            word = "failed" if issubclass(err[0], test.failureException) else "errored"
            self.came(test, word, f"{subtest}\n{self._exc_info_to_string(err, test)}")


def main(folder, names):
    # Only the results may go to the present stdout. Subprocesses of tests do not inherit the copy.
    output = os.dup(1)
    os.dup2(2, 1)
    if folder:
        import test

        test.__path__.insert(0, folder)
    result = Result(output)
    unittest.defaultTestLoader.loadTestsFromNames(names).run(result)
    result.send({"over": True})


if __name__ == "__main__":
    guard()
    main(sys.argv[1], sys.argv[2:])
