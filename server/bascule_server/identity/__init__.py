"""Who calls, what they may ask for, and how much of it.

    presented -> gate -> (callers: keys, certificates) or (tokens -> callers) -> access: methods, models, rows a second

Once callers are configured, whatever is not allowed is denied; health alone answers everybody.
"""

from bascule_server.identity.access import OPEN, Access
from bascule_server.identity.gate import Gate, gate_of
from bascule_server.identity.presented import Presented

__all__ = ["OPEN", "Access", "Gate", "Presented", "gate_of"]
