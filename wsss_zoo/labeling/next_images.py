"""``wsss-zoo next``"""
