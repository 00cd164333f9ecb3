"""Request bodies: parsed, validated, and turned into requests for the engine."""
