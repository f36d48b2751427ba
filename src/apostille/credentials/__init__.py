"""Where outbound credentials come from, refreshed off the request path.

`aws` fetches, `keeper` holds the credentials of one source, `keepers` all of them. It must not know programs, policies
or Envoy. botocore is imported inside functions: who signs nothing for AWS need not load it.
"""
