"""Episodes to look at: what happened in them and what agents decided by (`tape`), and a page that plays them."""
