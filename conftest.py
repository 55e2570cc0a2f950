"""Keep pytest out of `test/`: it holds programs that answer challenge test sets, not tests of this code."""

collect_ignore_glob = ["test/*"]
