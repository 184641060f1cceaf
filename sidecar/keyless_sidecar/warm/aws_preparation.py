"""What the AWS CLI's zygote does beyond importing: rehearses a command, and keeps a driver.

Never imported in the sidecar: :mod:`keyless_sidecar.warm.plan` sends this file's text, which
:mod:`keyless_sidecar.warm.zygote` runs.  It fits version 1 and Debian's version 2.

The rehearsal ends where a request would be sent, with a made-up answer; it loads what the CLI loads
late.  Its driver is thrown away.  Another one, with its tables made, waits for commands: all that
it has read by then is where the configuration would be, and there is none.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

REHEARSED = ("sts", "get-caller-identity")
KEYS = {
    "AWS_ACCESS_KEY_ID": "REHEARSAL",
    "AWS_SECRET_ACCESS_KEY": "rehearsal",
    "AWS_DEFAULT_REGION": "us-east-1",
}
ANSWER = (
    b"<GetCallerIdentityResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'>"
    b"<GetCallerIdentityResult><Arn>a</Arn><UserId>u</UserId><Account>0</Account>"
    b"</GetCallerIdentityResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>"
    b"</GetCallerIdentityResponse>"
)


class Body:
    """An answer's body, as urllib3 gives it."""

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        """In one piece."""
        yield ANSWER


def answer(request: Any, **_: object) -> Any:
    """In the place of the network."""
    headers = {"content-type": "text/xml", "content-length": str(len(ANSWER))}
    module = sys.modules[type(request).__module__]
    return module.AWSResponse(request.url, 200, headers, Body())


def late_modules() -> None:
    """What commands import when they run."""
    for name in (
        "botocore.httpsession",
        "botocore.signers",
        "botocore.retries.standard",
        "s3transfer.manager",
        "awscli.customizations.s3.s3handler",
        "awscli.customizations.s3.subcommands",
        "awscli.customizations.s3.results",
        "encodings.idna",
    ):
        # Some versions keep what they bring along below their own name.
        for place in (name, f"awscli.{name}"):
            with contextlib.suppress(ImportError):
                importlib.import_module(place)


def load(driver: Any) -> None:
    """What every command reads: tables, endpoints, and the models of the first service."""
    for table in ("_get_cli_data", "_get_command_table", "_get_argument_table"):
        getattr(driver, table)()
    loader = driver.session.get_component("data_loader")
    module: Any = sys.modules[type(loader).__module__]
    ordered = getattr(module, "OrderedDict", dict)
    # Half as large as ordered dictionaries; the order is the same.
    module.OrderedDict = dict
    try:
        for name in ("endpoints", "partitions", "sdk-default-configuration", "_retry"):
            with contextlib.suppress(Exception):  # not every version has each
                loader.load_data(name)
    finally:
        module.OrderedDict = ordered
    # Those that this service hasn't make the loader remember which services have them.
    for name in ("service-2", "endpoint-rule-set-1", "paginators-1", "waiters-2"):
        with contextlib.suppress(Exception):
            loader.load_service_model(REHEARSED[0], name)


def rehearse(driver: Any, loader: Any) -> str:
    """One command, up to its request."""
    driver.session.register_component("data_loader", loader)
    driver.session.register("before-send.sts", answer)
    out, error = io.StringIO(), io.StringIO()
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = out, error
    os.environ.update(KEYS)
    try:
        status = driver.main(list(REHEARSED))
    finally:
        sys.stdout, sys.stderr = streams
        for name in KEYS:
            del os.environ[name]
    return "" if status == 0 else "rehearsal: " + error.getvalue().strip()[:500]


def prepare() -> str:
    """Do all of it; what went wrong in the rehearsal, or an empty text."""
    module: Any = importlib.import_module("awscli.clidriver")
    create = module.create_clidriver
    late_modules()
    # It would start a thread, and threads don't survive a fork.
    runtime = sys.modules.get("awscrt.io")
    logging = getattr(runtime, "init_logging", None)
    if logging is not None:
        setattr(runtime, "init_logging", lambda *_: None)  # noqa: B010
    driver = create()
    load(driver)
    try:
        note = rehearse(create(), driver.session.get_component("data_loader"))
    finally:
        if logging is not None:
            setattr(runtime, "init_logging", logging)  # noqa: B010

    def prepared(*args: Any) -> Any:
        # Its log must be set up before anything else happens.
        return create(*args) if "--debug" in sys.argv else driver

    module.create_clidriver = prepared
    return note
