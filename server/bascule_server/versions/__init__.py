"""Which versions of the models a server has: found on the disk, copied, loaded, chosen among, and let go.

models_folder.py   what is published, and the plan of each model
plan.py            the file that says which version has which role
copies.py          the server's own copy of an artifact, which nobody changes under its feet
choice.py          which versions are to be loaded, and which one answers
watcher.py         has what serves follow what is published
admin_service.py   operators' calls
shadow.py          a version whose answers are only compared
"""
