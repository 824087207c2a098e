// SPDX-License-Identifier: GPL-2.0

//! The layouts of the firmware's commands, by the names of C header include/linux/mlx5/mlx5_ifc.h.
//!
//! Only what the model uses. tests/ifc.rs has a C compiler compare every line with the header.

#![allow(non_upper_case_globals, non_snake_case)]

use crate::bits::Field;

/// A field for the test: its structure, its name, and where it is.
pub type Row = (&'static str, &'static str, Field);

/// `structure [size in bits] { field: bit offset, bits; }`: a module for each, with its SIZE in
/// bytes. An array at the end, whose length is in the command, has 0 bits.
macro_rules! layouts {
    ($($structure:ident [$size:literal] { $($field:ident: $at:literal, $width:literal;)* })*) => {
        $(
            #[doc = concat!("struct mlx5_ifc_", stringify!($structure), "_bits")]
            pub mod $structure {
                #![allow(missing_docs, unused_imports)]
                use super::Field;
                pub const SIZE: usize = $size / 8;
                $(pub const $field: Field = Field { at: $at, width: $width };)*
            }
        )*
        /// All fields, for the test.
        pub const FIELDS: &[Row] = &[$($((
            stringify!($structure),
            stringify!($field),
            Field { at: $at, width: $width },
        ),)*)*];
        /// The size of each structure in bits, for the test.
        pub const SIZES: &[(&str, usize)] = &[$((stringify!($structure), $size),)*];
    };
}

macro_rules! numbers {
    ($($name:ident = $value:literal;)*) => {
        $(#[allow(missing_docs)] pub const $name: u64 = $value;)*
        /// All numbers, for the test.
        pub const NUMBERS: &[(&str, u64)] = &[$((stringify!($name), $value),)*];
    };
}

numbers! {
    MLX5_CMD_OP_QUERY_HCA_CAP = 0x100;
    MLX5_CMD_OP_QUERY_ADAPTER = 0x101;
    MLX5_CMD_OP_INIT_HCA = 0x102;
    MLX5_CMD_OP_TEARDOWN_HCA = 0x103;
    MLX5_CMD_OP_ENABLE_HCA = 0x104;
    MLX5_CMD_OP_DISABLE_HCA = 0x105;
    MLX5_CMD_OP_QUERY_PAGES = 0x107;
    MLX5_CMD_OP_MANAGE_PAGES = 0x108;
    MLX5_CMD_OP_SET_HCA_CAP = 0x109;
    MLX5_CMD_OP_QUERY_ISSI = 0x10a;
    MLX5_CMD_OP_SET_ISSI = 0x10b;
    MLX5_CMD_OP_SET_DRIVER_VERSION = 0x10d;
    MLX5_CMD_OP_SUSPEND_VHCA = 0x115;
    MLX5_CMD_OP_RESUME_VHCA = 0x116;
    MLX5_CMD_OP_QUERY_VHCA_MIGRATION_STATE = 0x117;
    MLX5_CMD_OP_SAVE_VHCA_STATE = 0x118;
    MLX5_CMD_OP_LOAD_VHCA_STATE = 0x119;
    MLX5_SUSPEND_VHCA_IN_OP_MOD_SUSPEND_INITIATOR = 0;
    MLX5_SUSPEND_VHCA_IN_OP_MOD_SUSPEND_RESPONDER = 1;
    MLX5_RESUME_VHCA_IN_OP_MOD_RESUME_RESPONDER = 0;
    MLX5_RESUME_VHCA_IN_OP_MOD_RESUME_INITIATOR = 1;
    MLX5_QUERY_VHCA_MIG_STATE_OPER_MIGRATION_IDLE = 1;
    MLX5_QUERY_VHCA_MIG_STATE_OPER_MIGRATION_READY = 2;
    MLX5_QUERY_VHCA_MIG_STATE_OPER_MIGRATION_DIRTY = 3;
    MLX5_QUERY_VHCA_MIG_STATE_OPER_MIGRATION_INIT = 4;
    MLX5_CMD_OP_CREATE_MKEY = 0x200;
    MLX5_CMD_OP_DESTROY_MKEY = 0x202;
    MLX5_CMD_OP_CREATE_EQ = 0x301;
    MLX5_CMD_OP_DESTROY_EQ = 0x302;
    MLX5_CMD_OP_CREATE_CQ = 0x400;
    MLX5_CMD_OP_DESTROY_CQ = 0x401;
    MLX5_CMD_OP_CREATE_QP = 0x500;
    MLX5_CMD_OP_DESTROY_QP = 0x501;
    MLX5_CMD_OP_RST2INIT_QP = 0x502;
    MLX5_CMD_OP_INIT2RTR_QP = 0x503;
    MLX5_CMD_OP_RTR2RTS_QP = 0x504;
    MLX5_CMD_OP_QUERY_HCA_VPORT_CONTEXT = 0x762;
    MLX5_CMD_OP_MODIFY_HCA_VPORT_CONTEXT = 0x763;
    MLX5_HCA_VPORT_SEL_PORT_GUID = 1;
    MLX5_HCA_VPORT_SEL_NODE_GUID = 2;
    MLX5_HCA_VPORT_SEL_STATE_POLICY = 4;
    MLX5_CMD_OP_ALLOC_PD = 0x800;
    MLX5_CMD_OP_DEALLOC_PD = 0x801;
    MLX5_CMD_OP_ALLOC_UAR = 0x802;
    MLX5_CMD_OP_DEALLOC_UAR = 0x803;
    MLX5_CMD_OP_ACCESS_REG = 0x805;
    MLX5_CMD_OP_CREATE_GENERAL_OBJECT = 0xa00;
    MLX5_CMD_OP_MODIFY_GENERAL_OBJECT = 0xa01;
    MLX5_CMD_OP_QUERY_GENERAL_OBJECT = 0xa02;
    MLX5_CMD_OP_DESTROY_GENERAL_OBJECT = 0xa03;
    MLX5_OBJ_TYPE_PAGE_TRACK = 0x46;
    MLX5_PAGE_TRACK_STATE_TRACKING = 0;
    MLX5_PAGE_TRACK_STATE_REPORTING = 1;
    MLX5_PAGE_TRACK_STATE_ERROR = 2;
    MLX5_EVENT_TYPE_CODING_COMPLETION_EVENTS = 0x0;
    MLX5_EVENT_TYPE_CODING_CQ_ERROR = 0x4;
    MLX5_EVENT_TYPE_CODING_LOCAL_WQ_CATASTROPHIC_ERROR = 0x5;
    MLX5_EVENT_TYPE_CODING_LOCAL_ACCESS_VIOLATION_WQ_ERROR = 0x11;
    MLX5_EVENT_TYPE_CODING_COMMAND_INTERFACE_COMPLETION = 0xa;
    MLX5_EVENT_TYPE_CODING_PAGE_REQUEST = 0xb;
}

layouts! {
    query_issi_in [0x80] { opcode: 0x0, 0x10; op_mod: 0x30, 0x10; }
    enable_hca_out [0x60] { status: 0x0, 0x8; syndrome: 0x20, 0x20; }
    enable_hca_in [0x80] { function_id_type: 0x43, 1; function_id: 0x50, 0x10; }
    disable_hca_in [0x80] { function_id_type: 0x43, 1; function_id: 0x50, 0x10; }
    init_hca_in [0x100] { sw_vhca_id: 0x62, 0xe; }
    teardown_hca_in [0x80] { profile: 0x50, 0x10; }
    set_driver_version_in [0x280] { driver_version: 0x80, 0x200; }

    query_issi_out [0x380] { current_issi: 0x50, 0x10; supported_issi_dw0: 0x360, 0x20; }
    set_issi_in [0x80] { current_issi: 0x50, 0x10; }

    query_adapter_out [0x880] { query_adapter_struct: 0x80, 0x800; }
    query_adapter_param_block [0x800] {
        ieee_vendor_id: 0xc8, 0x18; vsd_vendor_id: 0xf0, 0x10; vsd_contd_psid: 0x780, 0x80;
    }

    query_pages_in [0x80] { op_mod: 0x30, 0x10; function_id: 0x50, 0x10; }
    query_pages_out [0x80] { function_id: 0x50, 0x10; num_pages: 0x60, 0x20; }
    manage_pages_in [0x80] {
        op_mod: 0x30, 0x10; function_id: 0x50, 0x10; input_num_entries: 0x60, 0x20; pas: 0x80, 0;
    }
    manage_pages_out [0x80] { output_num_entries: 0x40, 0x20; pas: 0x80, 0; }

    query_hca_cap_in [0x80] {
        op_mod: 0x30, 0x10; other_function: 0x40, 1; function_id_type: 0x43, 1;
        function_id: 0x50, 0x10;
    }
    query_hca_cap_out [0x8080] { capability: 0x80, 0x8000; }
    set_hca_cap_in [0x8080] {
        op_mod: 0x30, 0x10; other_function: 0x40, 1; function_id: 0x50, 0x10;
        capability: 0x80, 0x8000;
    }
    cmd_hca_cap [0x800] {
        hca_cap_2: 0x20, 1;
        vhca_id: 0x30, 0x10;
        log_max_qp_sz: 0x88, 0x8;
        log_max_qp: 0x9b, 0x5;
        log_max_cq_sz: 0xc8, 0x8;
        log_max_cq: 0xdb, 0x5;
        log_max_eq_sz: 0xe0, 0x8;
        log_max_mkey: 0xea, 0x6;
        log_max_eq: 0xfc, 0x4;
        pkey_table_size: 0x190, 0x10;
        vport_group_manager: 0x1a0, 1;
        port_type: 0x1b6, 0x2;
        num_ports: 0x1b8, 0x8;
        log_max_msg: 0x1c3, 0x5;
        cqe_version: 0x1fc, 0x4;
        cmdif_checksum: 0x210, 0x2;
        rc: 0x23f, 1;
        log_pg_sz: 0x258, 0x8;
        driver_version: 0x261, 1;
        log_bf_reg_size: 0x26b, 0x5;
        log_max_pd: 0x32b, 0x5;
        max_num_eqs: 0x470, 0x10;
        log_uar_page_sz: 0x490, 0x10;
        device_frequency_mhz: 0x4c0, 0x20;
        device_frequency_khz: 0x4e0, 0x20;
        event_cap: 0x90, 1;
        general_obj_types: 0x400, 0x40;
        adv_virtualization: 0x579, 1;
        migration: 0x68d, 1;
    }

    query_hca_vport_context_in [0x80] { other_vport: 0x40, 1; vport_number: 0x50, 0x10; }
    query_hca_vport_context_out [0x1080] { hca_vport_context: 0x80, 0x1000; }
    modify_hca_vport_context_in [0x1080] {
        other_vport: 0x40, 1; vport_number: 0x50, 0x10; hca_vport_context: 0x80, 0x1000;
    }
    hca_vport_context [0x1000] {
        field_select: 0x0, 0x20; vport_state_policy: 0x114, 0x4; port_guid: 0x180, 0x40;
        node_guid: 0x1c0, 0x40;
    }

    access_register_in [0x80] {
        op_mod: 0x30, 0x10; register_id: 0x50, 0x10; argument: 0x60, 0x20; register_data: 0x80, 0;
    }
    access_register_out [0x80] { register_data: 0x80, 0; }

    dtor_reg [0x200] {
        health_poll_to: 0xa0, 0x20; fw_reset_to: 0xe0, 0x20; reclaim_pages_to: 0x180, 0x20;
        reclaim_vfs_pages_to: 0x1a0, 0x20;
    }

    create_eq_in [0x880] {
        eq_context_entry: 0x80, 0x200; event_bitmask: 0x2c0, 0x100; pas: 0x880, 0;
    }
    create_eq_out [0x80] { eq_number: 0x58, 0x8; }
    destroy_eq_in [0x80] { eq_number: 0x58, 0x8; }
    eqc [0x200] {
        log_eq_size: 0x63, 0x5; uar_page: 0x68, 0x18; intr: 0xb4, 0xc; log_page_size: 0xc3, 0x5;
    }

    alloc_uar_out [0x80] { uar: 0x48, 0x18; }
    dealloc_uar_in [0x80] { uar: 0x48, 0x18; }

    alloc_pd_out [0x80] { pd: 0x48, 0x18; }
    dealloc_pd_in [0x80] { pd: 0x48, 0x18; }

    create_mkey_in [0x880] { memory_key_mkey_entry: 0x80, 0x200; klm_pas_mtt: 0x880, 0; }
    create_mkey_out [0x80] { mkey_index: 0x48, 0x18; }
    destroy_mkey_in [0x80] { mkey_index: 0x48, 0x18; }
    mkc [0x200] {
        access_mode_4_2: 0x3, 0x3; lw: 0x14, 1; lr: 0x15, 1; access_mode_1_0: 0x16, 0x2;
        mkey_7_0: 0x38, 0x8; pd: 0x68, 0x18; start_addr: 0x80, 0x40; len: 0xc0, 0x40;
        translations_octword_size: 0x1a0, 0x20; log_page_size: 0x1da, 0x6;
    }

    create_cq_in [0x880] { cq_context: 0x80, 0x200; pas: 0x880, 0; }
    create_cq_out [0x80] { cqn: 0x48, 0x18; }
    destroy_cq_in [0x80] { cqn: 0x48, 0x18; }
    cqc [0x200] {
        cqe_sz: 0x8, 0x3; log_cq_size: 0x63, 0x5; uar_page: 0x68, 0x18;
        c_eqn_or_apu_element: 0xa0, 0x20; log_page_size: 0xc3, 0x5; dbr_addr: 0x1c0, 0x40;
    }

    create_qp_in [0x880] { qpc: 0xc0, 0x740; pas: 0x880, 0; }
    create_qp_out [0x80] { qpn: 0x48, 0x18; }
    destroy_qp_in [0x80] { qpn: 0x48, 0x18; }
    rst2init_qp_in [0x880] { qpn: 0x48, 0x18; qpc: 0xc0, 0x740; }
    init2rtr_qp_in [0x880] { qpn: 0x48, 0x18; qpc: 0xc0, 0x740; }
    rtr2rts_qp_in [0x880] { qpn: 0x48, 0x18; qpc: 0xc0, 0x740; }
    qpc [0x740] {
        st: 0x8, 0x8; pd: 0x28, 0x18; log_rq_size: 0x49, 0x4; log_rq_stride: 0x4d, 0x3;
        no_sq: 0x50, 1; uar_page: 0x68, 0x18; log_page_size: 0xa3, 0x5; remote_qpn: 0xa8, 0x18;
        cqn_rcv: 0x4e8, 0x18; dbr_addr: 0x500, 0x40; rq_type: 0x565, 0x3;
    }

    general_obj_in_cmd_hdr [0x80] { obj_type: 0x30, 0x10; obj_id: 0x40, 0x20; }
    general_obj_out_cmd_hdr [0x80] { obj_id: 0x40, 0x20; }
    create_page_track_obj_in [0x200] { obj_context: 0x80, 0x180; }
    query_page_track_obj_out [0x200] { obj_context: 0x80, 0x180; }
    page_track [0x180] {
        modify_field_select: 0x0, 0x40; vhca_id: 0x50, 0x10; state: 0x80, 0x4;
        track_type: 0x84, 0x4; log_addr_space_size: 0x88, 0x8; log_page_size: 0x93, 0x5;
        log_msg_size: 0x9b, 0x5; reporting_qpn: 0xa8, 0x18; num_ranges: 0xd8, 0x8;
        range_start_address: 0x100, 0x40; length: 0x140, 0x40;
    }
    page_track_range [0x80] { start_address: 0x0, 0x40; length: 0x40, 0x40; }
    page_track_report_entry [0x40] { dirty_address_high: 0x0, 0x20; dirty_address_low: 0x20, 0x20; }

    suspend_vhca_in [0x80] { op_mod: 0x30, 0x10; vhca_id: 0x50, 0x10; }
    resume_vhca_in [0x80] { op_mod: 0x30, 0x10; vhca_id: 0x50, 0x10; }
    query_vhca_migration_state_in [0x80] { incremental: 0x40, 1; chunk: 0x41, 1; vhca_id: 0x50, 0x10; }
    query_vhca_migration_state_out [0x200] {
        migration_state: 0x60, 0x4; required_umem_size: 0x80, 0x20; remaining_total_size: 0xc0, 0x40;
    }
    save_vhca_state_in [0x100] {
        opcode: 0x0, 0x10; incremental: 0x40, 1; set_track: 0x41, 1; vhca_id: 0x50, 0x10; va: 0x80, 0x40;
        mkey: 0xc0, 0x20; size: 0xe0, 0x20;
    }
    save_vhca_state_out [0x80] { actual_image_size: 0x40, 0x20; next_required_umem_size: 0x60, 0x20; }
    load_vhca_state_in [0x100] {
        vhca_id: 0x50, 0x10; va: 0x80, 0x40; mkey: 0xc0, 0x20; size: 0xe0, 0x20;
    }

    cmd_hca_cap_2 [0x800] {
        migratable: 0x80, 1; migration_multi_load: 0xc8, 1; migration_tracking_state: 0xc9, 1;
        migration_in_chunks: 0xd0, 1; migration_state: 0xd9, 1;
    }
    adv_virtualization_cap [0x800] {
        pg_track_log_max_num: 0x3, 0x5; pg_track_max_num_range: 0x8, 0x8;
        pg_track_log_min_addr_space: 0x10, 0x8; pg_track_log_max_addr_space: 0x18, 0x8;
        pg_track_log_min_msg_size: 0x23, 0x5; pg_track_log_max_msg_size: 0x2b, 0x5;
        pg_track_log_min_page_size: 0x33, 0x5; pg_track_log_max_page_size: 0x3b, 0x5;
    }
    device_event_cap [0x200] { user_affiliated_events: 0x0, 0x100; }
}
