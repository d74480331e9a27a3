use strict;
use warnings;

my $app = sub {
    my $body = "hello from worker $ENV{FUGUE_WORKER}, generation $ENV{FUGUE_GENERATION}\n";
    return [200, ['Content-Type' => 'text/plain', 'Content-Length' => length $body], [$body]];
};
