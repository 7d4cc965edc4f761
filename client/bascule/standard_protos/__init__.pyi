from bascule.standard_protos.generated import error_details_pb2 as error_details_pb2
from bascule.standard_protos.generated import health_pb2 as health_pb2
from bascule.standard_protos.generated import status_pb2 as status_pb2
