package com.github.flinktail.jobs;

import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/** Runs until it is cancelled. Arguments: name. */
public final class UnboundedJob {
    private UnboundedJob() {}

    public static void main(String[] args) throws Exception {
        StreamExecutionEnvironment env = Numbers.environment(0);
        Numbers.until(Long.MAX_VALUE, 100, env).print();
        env.executeAsync(args[0]);
    }
}
