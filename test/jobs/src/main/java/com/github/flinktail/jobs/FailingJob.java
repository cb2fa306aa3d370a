package com.github.flinktail.jobs;

import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/**
 * User code that throws in so many attempts; Flink restarts the job up to so many times. With more
 * failures than restarts the job fails in the end, else it recovers and finishes after so many numbers. Arguments: name,
 * failures, restarts, numbers.
 */
public final class FailingJob {
    private FailingJob() {}

    public static void main(String[] args) throws Exception {
        StreamExecutionEnvironment env = Numbers.environment(Integer.parseInt(args[2]));
        Numbers.until(Long.parseLong(args[3]), 10, env).map(new Parse(Integer.parseInt(args[1]))).name("parse").print();
        env.executeAsync(args[0]);
    }

    private static final class Parse extends RichMapFunction<Long, Long> {
        private static final long serialVersionUID = 1L;
        private final int failures;

        Parse(int failures) {
            this.failures = failures;
        }

        @Override
        public Long map(Long n) {
            if (n == 7 && getRuntimeContext().getTaskInfo().getAttemptNumber() < failures) {
                try {
                    return Long.valueOf("x-" + n);
                } catch (NumberFormatException e) {
                    throw new IllegalStateException("order " + n + " cannot be read", e);
                }
            }
            return n;
        }
    }
}
