"""Replicas whose KV cache forgets what the sliding windows of some layers have left behind."""
