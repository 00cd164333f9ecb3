"""What goes over the wire, as clients see it."""
