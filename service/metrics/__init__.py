"""What a replica says about its requests and its engine: metrics, traces and the usage ledger."""
