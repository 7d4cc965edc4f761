"""How calls come in and answers go out. The services know nothing of it but the shape of their methods.

aio    grpc.aio: complete and public
core   gRPC's C core, driven directly: several times as many calls a second, on a private module of grpcio
"""
