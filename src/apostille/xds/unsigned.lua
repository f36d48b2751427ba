-- Runs on requests that Envoy's signer has left without the signature that they need: none of them is sent.
-- The answers are those of the auth service.

function envoy_on_request(handle)
  local headers = handle:headers()
  local signature = headers:get("authorization")
  local payload = headers:get("x-amz-content-sha256")
  if not signature or string.sub(signature, 1, 17) ~= "AWS4-HMAC-SHA256 " then
    handle:respond({[":status"] = "503", ["x-apostille-reason"] = "sign_failed"}, "")
  elseif payload ~= "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" then
    -- A body in chunks; nothing before its first byte tells of it.
    handle:respond({[":status"] = "411", ["x-apostille-reason"] = "length_required"},
      "The service wants to know the length of an upload: send Content-Length instead of chunks.\n")
  else
    -- Signed along with ours was an x-amz- header that the policy does not allow.
    handle:respond({[":status"] = "403", ["x-apostille-reason"] = "header_not_allowed"}, "")
  end
end
