"""jupyter_kernel_test: the messages that every front end relies on."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import jupyter_kernel_test as kernel_test


class TestKeylessKernel(kernel_test.KernelTests):  # type: ignore[misc]
    kernel_name = "keyless"
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples = ({"text": "zi", "matches": {"zip"}},)
    complete_code_samples = ("1", "print('hello')", "def f(x):\n  return x*2\n\n\n")
    incomplete_code_samples = ("print('''hello", "def f(x):\n  x*2")
    invalid_code_samples = ("import = 7q",)
    code_page_something = "zip?"
    code_generate_error = "raise ValueError('no')"
    code_execute_result = (
        {"code": "1+2+3", "result": "6"},
        {"code": "[n*n for n in range(1, 4)]", "result": "[1, 4, 9]"},
    )
    code_display_data = (
        {
            "code": "from IPython.display import HTML, display; display(HTML('<b>x</b>'))",
            "mime": "text/html",
        },
    )
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"
    supported_history_operations = ("tail", "search")
    code_history_pattern = "1?2*"

    @classmethod
    def setUpClass(cls) -> None:
        cls._home = Path(tempfile.mkdtemp(prefix="kl-"))
        cls._environment: Any = mock.patch.dict(
            os.environ,
            {f"JUPYTER_{n}_DIR": str(cls._home / n.lower()) for n in ("CONFIG", "DATA", "RUNTIME")},
        )
        cls._environment.start()
        (cls._home / "runtime").mkdir(mode=0o700)
        super().setUpClass()

    @classmethod
    def tearDownClass(cls) -> None:
        super().tearDownClass()
        cls._environment.stop()
        shutil.rmtree(cls._home, ignore_errors=True)
