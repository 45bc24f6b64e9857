"""LiveSession: launch, attach, watch and stop a running set of modules."""
