"""Our own engine as the HTTP process sees it: requests, their answers, and the ranks that compute them."""
