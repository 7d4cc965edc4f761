"""Messages of ``google.rpc`` and ``grpc.health.v1``, without the distributions that carry them.

A process can register each message once. So these are the modules of ``googleapis-common-protos`` and
``grpcio-health-checking`` where those are installed, and where not, our own copies, made from the same definitions.
"""

try:
    from google.rpc import error_details_pb2, status_pb2
except ImportError:
    from bascule.standard_protos.generated import error_details_pb2, status_pb2

try:
    from grpc_health.v1 import health_pb2
except ImportError:
    from bascule.standard_protos.generated import health_pb2

__all__ = ["error_details_pb2", "health_pb2", "status_pb2"]
