"""Which route a request finds: the rules themselves, and how to find it without looking at every route.

It knows the model and regular expressions. It must not know Envoy's messages or what people wrote.
"""
