"""A tenant in Kafka: its topics `events`, `ingest` and `dead-letter`.

`topics.py` says what they should be, `plan.py` what has to change; `client.py` is the provider, `admin.py` the only
user of the driver, and `line.py` and `failures.py` say what its errors mean. A topic can carry no mark of its owner, so
ownership is kept in the ledger: what the tenant has not claimed is never touched. No users, ACLs or records.
"""
