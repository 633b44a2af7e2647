"""The server's application: every view in `pages/`, the gateway's routes, the files of the pages.

A view is one module, found by being there; the guard stands before all of them.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

import karat.web.pages
from karat.errors import KaratError, RunError
from karat.web.desk import Desk
from karat.web.guard import GATEWAY, Guard
from karat.web.respond import charts_css, failure, json

STATIC = Path(__file__).parent / "static"


def views() -> list[ModuleType]:
    """Every module of a view."""
    names = sorted(info.name for info in pkgutil.iter_modules(karat.web.pages.__path__))
    return [importlib.import_module(f"karat.web.pages.{name}") for name in names]


def build(desk: Desk) -> Starlette:
    """The application over what `desk` holds, behind its guard."""
    found = views()
    routes: list[BaseRoute] = [
        Route("/", _first), Route("/healthz", _health), Route("/static/charts.css", charts_css)
    ]  # fmt: skip
    for view in found:
        routes += view.ROUTES
    _check_doors(routes)
    doors: list[Route] = []
    if desk.gateway is not None:
        from karat.web.gateway import openapi
        from karat.web.gateway.routes import routes as gateway_routes

        if desk.settings.token is not None and not desk.gateway.asks_for_key:
            raise RunError("the pages ask for a token and the gateway does not; give it the token")
        doors = gateway_routes(desk.gateway)
        routes += [*doors, Route(openapi.PATH, openapi.serve(desk.gateway, doors))]
    routes.append(Mount("/static", StaticFiles(directory=STATIC)))
    app = Starlette(
        routes=routes,
        exception_handlers={HTTPException: failure, KaratError: failure, Exception: failure},
    )
    # A page has one address: a second one with a slash at its end would be one more to guard.
    app.router.redirect_slashes = False
    app.state.desk = desk
    app.state.menu = sorted((v.NAV for v in found if hasattr(v, "NAV")), key=lambda nav: nav[2])
    app.middleware_stack = Guard(_gate(doors, app.build_middleware_stack()), desk)
    return app


def _gate(doors: list[Route], app: ASGIApp) -> ASGIApp:
    """The gateway's addresses before all others."""
    if not doors:
        return app
    from karat.web.gateway.routes import Gate

    return Gate(doors, app)


def _check_doors(routes: list[BaseRoute]) -> None:
    """Raises: RunError for a view that would answer where the gateway's keys are asked for."""
    for route in routes:
        path: str = getattr(route, "path", "/")
        fixed, open_, _ = path.partition("{")
        if path.startswith(GATEWAY) or (open_ and GATEWAY.startswith(fixed)):
            raise RunError(f"a view answers at {path}; let it begin with the view's name")


async def _first(request: Request) -> Response:
    return RedirectResponse("/runs", 303)


async def _health(request: Request) -> Response:
    """For monitors: that it answers, and nothing else."""
    return json({"status": "ok"})
