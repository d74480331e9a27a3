core.register_action("nap", { "http-req" }, function(txn)
  core.msleep(tonumber(txn.f:url_param("ms") or 0) + 1)
end)
