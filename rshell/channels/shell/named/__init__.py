"""Named shells: shells that outlive their clients, and the kind `sessions` that lists them."""
