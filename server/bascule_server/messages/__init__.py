"""From protobuf's messages to questions, where all that can be wrong with them is found, and from answers back.

decoding.py          questions, with ranking_options.py; field_checks.py says what is wrong and where
schema.py            what a model can be asked
encoding.py          answers; query_failures.py, why there is none
"""
