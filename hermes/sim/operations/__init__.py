"""How clients are operated: what they take in, how replicas fail, come back, and come and go."""
