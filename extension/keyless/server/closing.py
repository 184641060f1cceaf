"""Closes what a script in a notebook page could use to act as the person.

Output of a cell that ran may hold a script, and it runs in the page with the person's session: what
the person can do in JupyterLab, it can.  So a server with Keyless kernels has no shell in the
browser, no kernel without a sandbox, and nothing that installs or starts programs, but for what
``c.Server.leave_open`` names.
"""

from __future__ import annotations

from typing import Any

from jupyter_client.kernelspec import NoSuchKernel
from jupyter_server.gateway.gateway_client import GatewayClient

from keyless.server.settings import OPENINGS
from keyless_kernel.confine import ConfigError

__all__ = ["close", "open_ways", "put"]

_PROVISIONER = "keyless-provisioner"
_MARK = "keyless_only"


def close(app: Any, leave_open: set[str]) -> None:
    """Close all ways but some.  Called before the server makes its parts.

    Args:
        app: the ``ServerApp``.
        leave_open: names out of :data:`~keyless.server.settings.OPENINGS`.

    Raises:
        ConfigError: something can't be closed.
    """
    if "terminals" not in leave_open:
        put(app, "terminals_enabled", False)
    if "kernels" not in leave_open:
        # As the server does it later; the default of the class hangs on it.
        app.gateway_config = GatewayClient.instance(parent=app)
        if app.gateway_config.gateway_enabled:
            raise ConfigError(
                "a gateway's kernels can't be told from others: 'kernels' in c.Server.leave_open"
            )
        kind = _keyless_only(app.kernel_spec_manager_class)
        put(app, "kernel_spec_manager_class", kind)
        put(app, "kernel_manager_class", _asks_first(app.kernel_manager_class))
        app.config.MultiKernelManager.default_kernel_name = "keyless"
    if "extensions" not in leave_open:
        app.config.LabApp.extension_manager = "readonly"
        for extension in _applications(app, "extension_manager"):
            extension.extension_manager = "readonly"
    if "language-servers" not in leave_open:
        app.config.LanguageServerManager.autodetect = False
        app.config.LanguageServerManager.language_servers = {}
    if "hidden-files" not in leave_open:
        app.config.ContentsManager.allow_hidden = False


def put(app: Any, name: str, value: Any) -> None:
    """Set one of the server's own settings, so that a later reading of its configuration keeps it.

    Args:
        app: the ``ServerApp``.
        name: of the setting.
        value: for it.
    """
    app.config.ServerApp[name] = value
    setattr(app, name, value)


def open_ways(app: Any, leave_open: set[str]) -> dict[str, str]:
    """The ways that are open, by what the running server does and not by what it was told.

    Args:
        app: the ``ServerApp``, with all extensions loaded.
        leave_open: as for :func:`close`.

    Returns:
        Name → what it gives to a script.
    """
    settings = app.web_app.settings
    servers = getattr(app, "language_server_manager", None)
    found = {
        "terminals": bool(settings.get("terminals_available")),
        "kernels": not hasattr(app.kernel_spec_manager, _MARK),
        "extensions": any(
            each.extension_manager != "readonly" for each in _applications(app, "extension_manager")
        ),
        "language-servers": bool(getattr(servers, "language_servers", {})),
        "hidden-files": bool(app.contents_manager.allow_hidden),
        "links": "links" in leave_open,
    }
    return {name: OPENINGS[name] for name, is_open in found.items() if is_open}


def _applications(app: Any, trait: str) -> list[Any]:
    """Server extensions that are applications (JupyterLab is one) with a setting of that name."""
    every = app.extension_manager.extension_apps.values()
    return [each for apps in every for each in apps if each.has_trait(trait)]


def _keyless_only(kind: type[Any]) -> type[Any]:
    """A kernel spec manager that knows no other kernels.

    Not ``allowed_kernelspecs``: that only leaves them out of the list, and who names one gets it.
    """

    class KeylessOnly(kind):  # type: ignore[misc]
        def get_kernel_spec(self, kernel_name: str) -> Any:
            spec = super().get_kernel_spec(kernel_name)
            provisioner = spec.metadata.get("kernel_provisioner", {})
            if provisioner.get("provisioner_name") != _PROVISIONER:
                raise NoSuchKernel(kernel_name)
            return spec

        def find_kernel_specs(self) -> dict[str, str]:
            known = {}
            for name, folder in super().find_kernel_specs().items():
                try:
                    self.get_kernel_spec(name)
                except (NoSuchKernel, ValueError, OSError):
                    continue
                known[name] = folder
            return known

    setattr(KeylessOnly, _MARK, True)
    KeylessOnly.__name__ = f"Keyless{kind.__name__}"
    return KeylessOnly


def _asks_first(kind: type[Any]) -> type[Any]:
    """A kernel manager that refuses a kernel before it has taken note of it.

    One that fails later stays in its books, and the server then doesn't end when it is told to.
    """

    class AsksFirst(kind):  # type: ignore[misc]
        def pre_start_kernel(self, kernel_name: str | None, kwargs: Any) -> Any:
            self.kernel_spec_manager.get_kernel_spec(kernel_name or self.default_kernel_name)
            return super().pre_start_kernel(kernel_name, kwargs)

    AsksFirst.__name__ = f"Keyless{kind.__name__}"
    return AsksFirst
