/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A multiboot header, which QEMU's -kernel looks for, and a stack. The boot protocol leaves
 * the processor in 32 bit protected mode with flat segments, and the address of what it
 * has to say in EBX.
 */
#define MAGIC 0x1badb002
#define FLAGS 0

	.section .multiboot, "a"
	.align 4
	.long MAGIC, FLAGS, -(MAGIC + FLAGS)

	.section .text
	.globl _start
_start:
	movl $stack_end, %esp
	pushl %ebx
	call main

	.bss
	.align 16
	.skip 16384
stack_end:
	.section .note.GNU-stack, "", @progbits
