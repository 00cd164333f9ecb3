"""The routes: what each HTTP method and path does."""
