run lambda { |env|
  sleep env['QUERY_STRING'][/ms=(\d+)/, 1].to_i / 1000.0
  [200, { 'X-Version' => ENV['VERSION'], 'X-Pid' => Process.pid.to_s, 'Content-Length' => '5' }, ["ruby\n"]]
}
