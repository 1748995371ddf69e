"""A run that ends at a certain call, as if its process had been killed there."""

import pytest

from support import sessions


class Killed(BaseException):
    """The process ends here."""


def killed_session(place, out, monkeypatch, where, name, *, call, **options):
    """A session that ends at the start of call number `call` of a function."""
    honest, calls = getattr(where, name), []

    def counted(*args, **kwargs):
        calls.append(name)
        if len(calls) == call:
            raise Killed
        return honest(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(where, name, counted)
        with pytest.raises(Killed):
            sessions.train(place, out, **options)
