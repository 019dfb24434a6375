"""One page to look at: `reports/index.html`, made of what the other stages left behind, whole in one file."""
