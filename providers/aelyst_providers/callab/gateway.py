"""The adapter for Callab AI: reading a contact by id. The API documents nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aelyst_async.adapter import HttpGateway
from aelyst_async.errors import ApiError, ConfigurationError, InvalidIdentifierError
from aelyst_async.identifiers import ContactId, Identifier, encode_segment, parse_identifier
from aelyst_async.ratelimit import RateLimiter
from aelyst_async.transport.credentials import BearerAuth, CredentialSource, sealed
from aelyst_async.transport.messages import Request, Response
from aelyst_async.transport.retry import RetryPolicy
from aelyst_async.transport.settings import masked_url
from aelyst_providers.callab import wire
from aelyst_providers.callab.models import CallabContact

if TYPE_CHECKING:
    from aiohttp import ClientSession, ClientTimeout

__all__ = ["CallabGateway"]


class CallabGateway(HttpGateway):
    """Callab AI's contacts: a `ContactReader`.

    `token`: a `str`, or a callable (plain or async) that returns one. ``contact_path``: the route, with ``{id}`` in it;
    newer pages of the vendor say ``/contacts/{id}``. The other settings are as in `AelystGateway`. Raises
    `ConfigurationError`.
    """

    provider: str = "callab"

    def __init__(
        self,
        token: CredentialSource,
        *,
        contact_path: str = "/contact/{id}",
        base_url: str = "https://api.callab.ai/v1",
        session: ClientSession | None = None,
        limiter: RateLimiter | None = None,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        timeout: float | ClientTimeout | None = 30.0,
        settle: float = 0.0,
        allow_insecure: bool = False,
    ) -> None:
        token, base_url = sealed(token), masked_url(base_url)  # before any code that may raise
        self._before, self._after = _split(contact_path)
        super().__init__(
            BearerAuth(),
            token,
            credential_name="token",
            base_url=base_url,
            session=session,
            limiter=limiter,
            retry=retry,
            timeout=timeout,
            settle=settle,
            allow_insecure=allow_insecure,
        )

    def _error_in(self, response: Response) -> ApiError | None:
        return wire.read_error(response)

    async def get(self, identifier: Identifier | str) -> CallabContact:
        """Return the contact with this id. Raises `ContactNotFoundError`, `InvalidIdentifierError`."""
        who = parse_identifier(identifier)
        if not isinstance(who, ContactId):
            raise InvalidIdentifierError("callab: a contact can be read only by id:")
        request = Request(
            method="GET",
            endpoint=f"{self._before}{{id}}{self._after}",
            path=f"{self._before}{encode_segment(who.value)}{self._after}",
        )
        return await self._call(request, lambda response: wire.read_contact(response, who), about=who)


def _split(contact_path: object) -> tuple[str, str]:
    valid = (
        isinstance(contact_path, str)
        and contact_path.startswith("/")
        and contact_path.count("{id}") == 1
        and contact_path.isascii()
        and not any(character <= " " or character in "?#" for character in contact_path)
    )
    if not valid:
        raise ConfigurationError(
            f"contact_path must be a path with one {{id}}, like /contact/{{id}}, not {contact_path!r}"
        )
    before, _, after = str(contact_path).partition("{id}")
    return before, after
