"""A unary call of ``grpc.aio``, with what goes wrong as errors of ours."""

from typing import Any

from bascule.answers import no_message
from bascule.errors import rpc_errors


async def answered(method: Any, request: Any, timeout: float) -> Any:  # noqa: ANN401, ASYNC109 - as the stub's
    """The response.

    Raises:
        BasculeError: There is none.
    """
    with rpc_errors():
        response = await method(request, timeout=timeout)
    if response is None:
        # So it tells that the bytes could not be read; ``grpc`` raises an error.
        raise no_message()
    return response
