"""KV memory tiers: stores shared by replicas, the flows to and from them, and what they hit."""
