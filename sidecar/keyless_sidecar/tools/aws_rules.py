"""The rules for the AWS CLI: deny by default, decided on what the command will do.

A line is read strictly (``aws_line``), its operation looked up in the service models
(``aws_operations``), weighed (``aws_exposure``), its files checked (``aws_files``), and the line
is written anew from all that.  Only the new line is run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from botocore import xform_name

from keyless_sidecar.tools.aws_exposure import changes_access, exposed_member, guarded_members
from keyless_sidecar.tools.aws_files import Files
from keyless_sidecar.tools.aws_line import Given, Line, read_line, write_option
from keyless_sidecar.tools.aws_names import REFUSED_COMMANDS, URL_OPTIONS
from keyless_sidecar.tools.aws_operations import (
    Models,
    Operation,
    OptionSpec,
    is_mutating,
    models,
)
from keyless_sidecar.tools.aws_s3 import REPEATABLE, check_s3, private_access, s3_options
from keyless_sidecar.tools.declaration import Tool
from keyless_sidecar.tools.verdict import Checked, Refused, check_text, shown
from keyless_sidecar.workspace import WorkspaceRoot

__all__ = ["check_aws"]

_DOCS = "https://docs.aws.amazon.com/cli/latest/reference/"


def check_aws(tool: Tool, argv: Sequence[str], workspace: WorkspaceRoot, cwd: str) -> Checked:
    """Check a command of the AWS CLI; see :func:`keyless_sidecar.tools.check` for the rest."""
    check_text(argv, json=True)
    if list(argv) == ["--version"]:
        return Checked(("--version",), "aws:version", False, (), "aws.version")
    if (argv and argv[0] == "help") or (argv and argv[-1] == "help"):
        raise Refused(
            "InvalidRequest",
            f"Help needs a pager, which is not there; the same text is at {_DOCS}.",
            "aws.help",
        )
    rules = _Rules(tool, models(tool.model_path), Files(workspace, cwd))
    line = read_line(argv, rules.table, repeatable=REPEATABLE)
    return rules.decide(line)


class _Rules:
    """One decision: finds the operation while the line is read, then weighs it."""

    def __init__(self, tool: Tool, known: Models, files: Files) -> None:
        self._allowed = frozenset(tool.allow_operations)
        # Behind the proxy answers are captured, and the policy weighs each request itself.
        self._weighs = tool.delivery != "proxy"
        self._models = known
        self._files = files
        self._operation: Operation | None = None
        self._specs: Mapping[str, OptionSpec] = {}

    def table(self, command: str, name: str, waiter: str) -> Mapping[str, OptionSpec]:
        """The options of a command; refuses commands that aren't allowed or don't exist."""
        self._refuse_command(command, name)
        if (not name or (name == "wait" and not waiter)) and (
            command == "s3" or self._models.has_service(command)
        ):
            return {}  # the line ends too early, which the reader says best
        if command == "s3":
            specs = s3_options(name)
            if specs is None:
                raise Refused(
                    "InvalidRequest",
                    f"aws s3 has no command {shown(name)}; there are ls, cp, mv, sync, rm, mb, rb "
                    "and website, and all operations under s3api.",
                    "aws.unknown",
                )
            self._specs = specs
            return specs
        if waiter:
            self._operation = self._models.waiter(command, waiter)
        else:
            self._operation = self._models.operation(command, name)
        if self._operation is None:
            raise self._unknown(command, name, waiter)
        if not self._operation.waits:
            self._weigh(self._operation)
        self._specs = self._operation.options
        return self._specs

    def decide(self, line: Line) -> Checked:
        """Check what the options say, and write the line anew."""
        if line.command == "s3":
            sharing = bool({"s3:PutObjectAcl", "s3:CopyObject"} & self._allowed)
            sharing = sharing or not self._weighs
            done = check_s3(line, self._files, sharing=sharing)
            options = [self._option(line, given) for given in line.options]
            argv = self._write(line, ["s3", line.operation, *done.words], [*options, *done.options])
            name = "+".join(f"aws:s3:{part}" for part in done.operation.split("+"))
            return Checked(argv, name, done.mutating, self._files.found(), "aws.s3")
        operation = self._operation
        if operation is None:
            raise self._unknown(line.command, line.operation, line.waiter)
        self._check_guarded(line, operation)
        words = [line.command, line.operation]
        words += [line.waiter] if line.waiter else []
        words += self._outfile(line, operation)
        options = [self._option(line, given) for given in line.options]
        return Checked(
            self._write(line, words, options),
            f"aws:{operation.service}:{operation.name}",
            False if operation.waits else is_mutating(operation.model),
            self._files.found(),
            self._rule(operation),
        )

    # ------------------------------------------------------------------ what is refused

    def _refuse_command(self, command: str, name: str) -> None:
        for key in (command, f"{command} {name}"):
            reason = REFUSED_COMMANDS.get(key)
            if reason is not None:
                raise Refused(
                    "PolicyDenied", f"aws {key} is not allowed: {reason}.", "aws.commands"
                )

    def _unknown(self, command: str, name: str, waiter: str) -> Refused:
        if not self._models.has_service(command):
            near = self._models.similar(command)
            hint = f"; did you mean {near}?" if near else f"; see {_DOCS}"
            text = f"The AWS CLI has no service {shown(command)}{hint}"
        elif waiter or name == "wait":
            text = f"aws {command} has no waiter {shown(waiter)}; see {_DOCS}{command}/wait/"
        else:
            near = self._models.similar(command, name)
            hint = f"; did you mean {near}?" if near else f"; see {_DOCS}{command}/"
            text = f"aws {command} has no operation {shown(name)} that is allowed{hint}"
        return Refused("InvalidRequest", text, "aws.unknown")

    def _weigh(self, operation: Operation) -> None:
        full = f"{operation.service}:{operation.name}"
        if full in self._allowed or not self._weighs:
            return
        member = exposed_member(operation.service, operation.model)
        if member:
            raise Refused(
                "PolicyDenied",
                f"{full} can hand out secrets ({member}), which nothing would keep from the cell; "
                f"a person can add '{full}' to allow_operations of the tool.",
                "aws.secrets",
            )
        if changes_access(operation.service, operation.model):
            raise Refused(
                "PolicyDenied",
                f"{full} changes who may do what, and is refused by default; a person can add "
                f"'{full}' to allow_operations of the tool.",
                "aws.access",
            )

    def _check_guarded(self, line: Line, operation: Operation) -> None:
        """Parameters that decide whether others get access."""
        full = f"{operation.service}:{operation.name}"
        guarded = guarded_members(operation.service, operation.model)
        if not guarded or full in self._allowed or not self._weighs:
            return
        given = {option.name: option for option in line.options}
        if "cli-input-json" in given:
            raise Refused(
                "PolicyDenied",
                "This operation needs its parameters as options, not as --cli-input-json: they "
                "decide whether others get access.",
                "aws.sharing",
            )
        for member in guarded:
            option = given.get(xform_name(member, "-"))
            if option is None or (member == "ACL" and private_access(option.values[0])):
                continue
            if member == "Capabilities" and set(option.values) <= {"CAPABILITY_AUTO_EXPAND"}:
                continue
            if member == "CopySource" and _same_bucket(option, given.get("bucket")):
                continue
            raise Refused(
                "PolicyDenied",
                f"With this --{option.name} others may get access, which is refused by default; a "
                f"person can add '{full}' to allow_operations of the tool.",
                "aws.sharing",
            )

    # ------------------------------------------------------------------ the new line

    def _outfile(self, line: Line, operation: Operation) -> list[str]:
        if not operation.outfile and line.words:
            raise Refused(
                "InvalidRequest",
                f"The word {shown(line.words[0])} belongs to no option; there is no shell, so "
                "pipes, redirections and ';' don't work here.",
                "aws.words",
            )
        if operation.outfile and len(line.words) != 1:
            raise Refused(
                "InvalidRequest",
                f"aws {line.command} {line.operation} needs exactly one file name for the answer, "
                "after the options.",
                "aws.words",
            )
        return [self._files.write(word) for word in line.words]

    def _option(self, line: Line, given: Given) -> Given:
        spec = self._specs[given.name]
        url = (line.command, given.name) in URL_OPTIONS
        values = [self._files.value(given.name, value, spec, url=url) for value in given.values]
        return Given(given.name, tuple(values))

    def _write(self, line: Line, words: Sequence[str], options: Sequence[Given]) -> tuple[str, ...]:
        argv: list[str] = []
        for given in line.shared:
            argv += write_option(given)
        argv += words
        for given in options:
            argv += write_option(given)
        return tuple(argv)

    def _rule(self, operation: Operation) -> str:
        if f"{operation.service}:{operation.name}" in self._allowed:
            return "aws.allow_operations"
        return "aws.wait" if operation.waits else "aws.default"


def _same_bucket(source: Given, bucket: Given | None) -> bool:
    if bucket is None:
        return False
    return source.values[0].lstrip("/").split("/")[0] == bucket.values[0]
