"""HTTP: routes, wire schemas, error rendering."""
